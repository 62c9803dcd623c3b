"""Accounts as an operator handles them: what `make mailbox` runs. Nothing here is used by the program or the host."""
