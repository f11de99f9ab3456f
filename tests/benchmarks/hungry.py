"""A function that needs memory, for the tests of what measures it."""


def eat(megabytes: int) -> int:
    held = bytearray(b"x" * (megabytes * 2**20))
    return len(held) // 2**20
