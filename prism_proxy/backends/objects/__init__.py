"""Object stores as drivers of slots: what `prism_proxy.object_stores` does, under the life of a backend driver."""
