"""Exit 0 when the service in this container is ready, 1 with the reason when it is not. Standard library only."""

import os
import sys
import urllib.error
import urllib.request

port = os.environ.get("MATTE_PORT", "8000")

try:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=4) as response:
        print(response.read().decode())
except urllib.error.HTTPError as error:
    sys.exit(f"{error.code} {error.read().decode()}")
except OSError as error:
    sys.exit(str(error))
