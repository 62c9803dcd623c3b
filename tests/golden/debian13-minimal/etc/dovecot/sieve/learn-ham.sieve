# Managed by Pulumi from templates/dovecot/sieve/learn-ham.sieve.j2: a change made here is lost at the next `pulumi up`.
# RFC 6785. Runs when somebody moves mail out of Junk. The move succeeds whatever comes of the learning (:try).
require ["imapsieve", "environment", "copy", "vnd.dovecot.pipe"];

# Spam that is thrown away stays spam.
if environment :matches "imap.mailbox" ["Trash", "Trash/*", "Junk", "Junk/*"] {
  stop;
}
pipe :copy :try "learn" "ham";
