"""The seed of a round, for suites that draw their own: ``SYNCD_TRUST_SEED``, 1 unless said.

Each round of a campaign has the next one, so that a night does not repeat the same nights.
"""

import os
from typing import Final

VARIABLE: Final = "SYNCD_TRUST_SEED"
ROUND: Final = int(os.environ.get(VARIABLE) or 1)
