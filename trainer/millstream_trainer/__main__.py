"""`python -m millstream_trainer`: a worker's process from its first moment.

The first process of a container ignores SIGTERM until it handles it, and importing torch takes
seconds: a worker that is asked to end meanwhile would be waited for until it is killed. So there
is a handler before anything heavy is imported; `main` puts its own in place.
"""

import signal
import sys

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

from millstream_trainer.main import main  # noqa: E402 - after the handler, see above

main()
