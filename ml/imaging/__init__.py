"""Reading smear images safely, judging their quality and preparing them for a network.

OpenCV reads its pixel limit from the environment once, when it is first imported, so the limit is set here,
before any module of this package imports it. Without it OpenCV decodes a PNG of one megabyte into gigabytes.
"""

import os

MAX_PIXELS = 50_000_000
"""Most pixels an image may have. A 2592x1944 microscope camera gives 5 million; the largest cameras in use
some 25 million.
"""

os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))
