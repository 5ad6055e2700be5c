"""How a preview runs on this machine: as a process, or in a container of the Expo image."""
