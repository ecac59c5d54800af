"""Reads a window of a raster with GDAL, so many times, run by the Python that has GDAL: ``window.py PATH TIMES``.

Prints for each time the seconds from opening the file to having the pixels.
"""

import sys
import time

from osgeo import gdal

PLACE, SIZE = 4700, 512  # pixels


def main() -> None:
    """Read."""
    gdal.UseExceptions()
    for _ in range(int(sys.argv[2])):
        begun = time.perf_counter()
        image = gdal.Open(sys.argv[1])
        pixels = image.GetRasterBand(1).ReadRaster(PLACE, PLACE, SIZE, SIZE)
        print(time.perf_counter() - begun)
        if len(pixels) != 2 * SIZE * SIZE:
            sys.exit("these are not the pixels")
        del image


if __name__ == "__main__":
    main()
