"""The control plane: knows every namespace and proxy, and which proxy serves what. Shares only the contract with
them."""
