"""The other side of `exporter.runtimes.process`: scripts that run in a process of their own.

`serve.py` is started with the path of one of the others. None of them imports anything of ours, and those that run
under an emulator have only NumPy and their runtime at hand.
"""
