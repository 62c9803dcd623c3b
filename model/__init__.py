"""What a mail host is: settings in, DNS records and files out. Pure: no Pulumi, no network, no clock."""
