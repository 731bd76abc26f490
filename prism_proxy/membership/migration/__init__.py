"""Data that only this proxy has go over to another one, and come from one, while clients use them."""
