"""How much is tried: `make proof` tries all there is, the tests of a change a part of it that takes minutes."""

import os

PROOF = "PROOF" in os.environ
