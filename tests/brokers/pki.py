# SPDX-License-Identifier: Apache-2.0
"""Certificates for the TLS tests, made by the openssl command."""

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

from .install import ensure_packages

DAYS = "30"
SERVER_NAMES = "DNS:localhost,IP:127.0.0.1"


class Pki(SimpleNamespace):
    """Paths: ca, other_ca, and server, wrongname, expired, client as NAME and NAME_key; dir."""


def make_pki(directory):
    """Makes in directory, and returns the paths of:

    ca.pem and other-ca.pem (which signed nothing); NAME.pem and NAME.key for server (localhost,
    127.0.0.1), wrongname (other.example), expired (as server, until 2020) and client.
    """
    if not shutil.which("openssl"):
        ensure_packages("openssl")
    base = Path(directory)
    base.mkdir(parents=True, exist_ok=True)
    _authority(base, "ca", "mbridge test CA")
    _authority(base, "other-ca", "another CA")
    _certificate(base, "server", "localhost", SERVER_NAMES, "serverAuth")
    _certificate(base, "wrongname", "other.example", "DNS:other.example", "serverAuth")
    _certificate(base, "expired", "localhost", SERVER_NAMES, "serverAuth",
                 ("20190101000000Z", "20200101000000Z"))
    _certificate(base, "client", "bridge", "DNS:bridge.example", "clientAuth")
    pki = Pki(dir=base, ca=base / "ca.pem", other_ca=base / "other-ca.pem")
    for name in ("server", "wrongname", "expired", "client"):
        setattr(pki, name, base / f"{name}.pem")
        setattr(pki, f"{name}_key", base / f"{name}.key")
    return pki


def _openssl(base, *arguments):
    subprocess.run(["openssl", *arguments], cwd=base, check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _new_key(base, name):
    # genpkey writes PKCS#8, the only form that Kafka reads.
    _openssl(base, "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048",
             "-out", f"{name}.key")


def _authority(base, name, common_name):
    _new_key(base, name)
    _openssl(base, "req", "-x509", "-new", "-key", f"{name}.key", "-sha256", "-days", DAYS,
             "-subj", f"/CN={common_name}", "-out", f"{name}.pem",
             "-addext", "keyUsage=critical,keyCertSign,cRLSign")


def _certificate(base, name, common_name, subject_names, usage, period=None):
    """A certificate of ca; period = (from, to) needs `openssl ca`, which alone can set both."""
    _new_key(base, name)
    _openssl(base, "req", "-new", "-key", f"{name}.key", "-subj", f"/CN={common_name}",
             "-out", f"{name}.csr")
    (base / f"{name}.cnf").write_text(
        "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nserial=serial\nnew_certs_dir=.\n"
        "default_md=sha256\npolicy=p\nrand_serial=yes\nunique_subject=no\nx509_extensions=e\n"
        "[p]\ncommonName=supplied\n"
        f"[e]\nbasicConstraints=critical,CA:FALSE\nkeyUsage=digitalSignature,keyEncipherment\n"
        f"extendedKeyUsage={usage}\nsubjectAltName={subject_names}\n")
    (base / "index.txt").touch()
    when = ["-startdate", period[0], "-enddate", period[1]] if period else ["-days", DAYS]
    _openssl(base, "ca", "-batch", "-notext", "-config", f"{name}.cnf", "-cert", "ca.pem",
             "-keyfile", "ca.key", "-in", f"{name}.csr", "-out", f"{name}.pem", *when)
    for suffix in ("csr", "cnf"):
        (base / f"{name}.{suffix}").unlink()
