"""How long a test waits for what must come, before it says that it has not."""

from typing import Final

# Not a bound on speed: two workers share two cores, perhaps with others. Below pytest's timeout.
WAIT_S: Final = 100.0
