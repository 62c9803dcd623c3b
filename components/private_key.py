"""Private keys that the engine generates and keeps in the stack's state, secret.

A wrapper of the official type as in components/remote.py: importing `pulumi_tls` takes as long as all of `components`.
"""

from importlib.metadata import version
from typing import Final, Literal

import pulumi

PLUGIN_VERSION: Final = version("pulumi-tls")
"""The package pins the plugin: both carry the same version."""

_SECRETS: Final = ("privateKeyOpenssh", "privateKeyPem", "privateKeyPemPkcs8")


class PrivateKey(pulumi.CustomResource):
    """A key pair (`tls:index/privateKey:PrivateKey`). Its size counts when it is made, and never replaces it."""

    def __init__(
        self,
        resource_name: str,
        *,
        algorithm: Literal["RSA", "ED25519"],
        rsa_bits: int | None = None,
        opts: pulumi.ResourceOptions,
    ) -> None:
        properties: dict[str, pulumi.Input[object]] = {"algorithm": algorithm}
        if rsa_bits is not None:
            properties["rsaBits"] = float(rsa_bits)
        outputs = dict.fromkeys(("privateKeyPem", "privateKeyPemPkcs8", "publicKeyPem"))
        super().__init__(
            "tls:index/privateKey:PrivateKey",
            resource_name,
            {**properties, **outputs},
            pulumi.ResourceOptions.merge(
                opts,
                pulumi.ResourceOptions(
                    version=PLUGIN_VERSION,
                    additional_secret_outputs=list(_SECRETS),
                    # Another key would make the signatures of mail under way fail; the next one has a name of its own.
                    ignore_changes=["rsaBits"],
                ),
            ),
        )

    @property
    @pulumi.getter(name="rsaBits")
    def rsa_bits(self) -> pulumi.Output[float]:
        """The size that the key has."""
        size: pulumi.Output[float] = pulumi.get(self, "rsaBits")
        return size

    @property
    @pulumi.getter(name="privateKeyPem")
    def private_key_pem(self) -> pulumi.Output[str]:
        """PEM, secret; an RSA key's in PKCS #1."""
        return self._output("privateKeyPem")

    @property
    @pulumi.getter(name="privateKeyPemPkcs8")
    def private_key_pem_pkcs8(self) -> pulumi.Output[str]:
        """PKCS #8 PEM, secret."""
        return self._output("privateKeyPemPkcs8")

    @property
    @pulumi.getter(name="publicKeyPem")
    def public_key_pem(self) -> pulumi.Output[str]:
        """The public half in PEM."""
        return self._output("publicKeyPem")

    def _output(self, name: str) -> pulumi.Output[str]:
        output: pulumi.Output[str] = pulumi.get(self, name)
        return output
