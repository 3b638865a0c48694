import blake3
from typing_extensions import Buffer


def digest(*parts: Buffer) -> bytes:
    """Hash parts so that no two different sequences of parts are hashed alike.

    Parameters
    ----------
    parts
        Contiguous buffers; each is preceded by its length in bytes.

    Returns
    -------
    bytes
        The BLAKE3 hash, 32 bytes.
    """
    hasher = blake3.blake3()
    for part in parts:
        hasher.update(memoryview(part).nbytes.to_bytes(8, "little"))
        hasher.update(part)
    return hasher.digest()
