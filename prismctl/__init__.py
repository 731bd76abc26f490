"""The operators' command of the platform: `prismctl`, also called `prism`."""
