"""The operating systems a host may run, and what differs between them."""

from typing import Final, Literal

from model.frozen import frozen

Os = Literal["debian12", "debian13", "ubuntu24.04"]


@frozen
class Platform:
    """One supported release, as /etc/os-release (os-release(5)) names it."""

    os: Os
    id: str
    """`ID=` of os-release."""
    version_id: str
    """`VERSION_ID=` of os-release."""
    dovecot: Literal["2.3", "2.4"]
    """Generation of Dovecot's configuration language: 2.4 refuses files of 2.3, and the reverse."""
    postfix: Literal["postfix.service", "postfix@-.service"]
    """Unit in which Postfix's processes run."""
    search: Literal["dovecot-fts-xapian", "dovecot-flatcurve"] | None
    """Package with Dovecot's full-text search, where the release has one that fits its Dovecot."""

    @property
    def title(self) -> str:
        """Name for people: Debian 13."""
        return f"{self.id.capitalize()} {self.version_id}"


PLATFORMS: Final[dict[Os, Platform]] = {
    platform.os: platform
    for platform in (
        # Postfix 3.7, Dovecot 2.3.19
        Platform(
            os="debian12",
            id="debian",
            version_id="12",
            dovecot="2.3",
            postfix="postfix@-.service",
            search="dovecot-fts-xapian",
        ),
        # Postfix 3.10, Dovecot 2.4.1
        Platform(
            os="debian13",
            id="debian",
            version_id="13",
            dovecot="2.4",
            postfix="postfix.service",
            search="dovecot-flatcurve",
        ),
        # Postfix 3.8, Dovecot 2.3.21
        Platform(
            os="ubuntu24.04",
            id="ubuntu",
            version_id="24.04",
            dovecot="2.3",
            postfix="postfix@-.service",
            search=None,
        ),
    )
}
