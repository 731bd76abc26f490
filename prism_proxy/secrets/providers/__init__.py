"""One module or folder a provider; `secrets.options` names them."""
