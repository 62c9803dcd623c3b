"""A small, closed internet on one machine: Debian hosts, DNS, Cloudflare's API, ACME and another mail server."""
