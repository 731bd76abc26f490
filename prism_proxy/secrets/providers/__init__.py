"""One module a provider; `registry` names them."""
