"""The search for settings that keep a budget: what may be tried, what each layer costs, and in which order."""
