"""Looks at a mail host as the world does: as another mail server, as a mail client, and before the first change.

`observe` asks the network and the host and returns frozen dataclasses; `judge` turns them into findings, pure; `checks`
is the one table of what is looked at. Nothing here changes anything, but for the test mail, which is deleted again, and
the password that the host lends for it.
"""
