"""The demo account: what is in it, and how it is put into an emulator. All of it is fixed, nothing is random."""
