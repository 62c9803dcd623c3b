# Managed by Pulumi from templates/dovecot/sieve/junk.sieve.j2: a change made here is lost at the next `pulumi up`.
# RFC 5228. Runs before every user's own filters. rspamd writes this header, and removes one that came from outside.
require "fileinto";

if header :is "X-Spam" "Yes" {
  fileinto "Junk";
  stop;
}
