"""Cloudflare's v4 API for zones and DNS records, answered by the lab and published into PowerDNS."""
