"""What is on disk and whose it is: whole files, locks, the manifest, and what cells came from."""
