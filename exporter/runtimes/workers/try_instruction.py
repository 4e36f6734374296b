"""Executes one ARM64 instruction: `try_instruction.py CODE`, CODE being its 32 bits in hexadecimal.

Standard library only. A processor that has not got the instruction ends this process with SIGILL.
"""

import ctypes
import mmap
import struct
import sys

RETURN = 0xD65F03C0

page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(struct.pack("<2I", int(sys.argv[1], 16), RETURN))
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
ctypes.CFUNCTYPE(None)(address)()
print("done")
