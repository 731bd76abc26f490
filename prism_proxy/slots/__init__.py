"""Between a pattern and the backend that fills its slot: the only place that classifies, retries and sheds."""
