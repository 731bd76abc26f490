"""Publishing to subscriptions of this process without Python objects."""
