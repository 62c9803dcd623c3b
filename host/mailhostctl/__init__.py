"""Runs on the mail host: stages files, applies them per service with a way back, waits for DNS, checks the result.

Standard library only, Python 3.11 to 3.13. It opens no port, stores no password and talks to nobody but the daemons of
this host, the package manager, certbot and the name servers it is asked to wait for.
"""
