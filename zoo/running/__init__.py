"""One run of a network: its settings, its trainer, what it leaves behind; checks before one."""
