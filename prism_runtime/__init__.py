"""What every process of the product stands on: settings, logs, ports, TLS, life cycle. It knows no product."""
