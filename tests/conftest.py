"""For all tests."""

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # before grpc is imported: it warns at each program that a test starts
