PY := .venv/bin/python
native: ## rebuild the native modules and stubs in place
	$(PY) setup.py -q build_ext --inplace
