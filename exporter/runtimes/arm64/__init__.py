"""ARM64 kernels on a machine of another kind: an ARM64 userland under qemu's user emulator, without root."""
