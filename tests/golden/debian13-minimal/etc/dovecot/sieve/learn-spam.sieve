# Managed by Pulumi from templates/dovecot/sieve/learn-spam.sieve.j2: a change made here is lost at the next `pulumi up`.
# RFC 6785. Runs when somebody moves mail into Junk. The move succeeds whatever comes of the learning (:try).
require ["imapsieve", "copy", "vnd.dovecot.pipe"];

pipe :copy :try "learn" "spam";
