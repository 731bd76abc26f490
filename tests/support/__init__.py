"""What several layers of tests share and no server needs."""
