"""`python -m keras_stn` is the command `keras-stn`."""

import sys

from keras_stn.cli import main

sys.exit(main())
