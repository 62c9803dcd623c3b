"""What a mail host consists of in Pulumi's graph: one ComponentResource per concern, one file each."""
