"""Exit 0 when the service in this container is ready, 1 with the reason when it is not. Standard library only.

The service's own settings MATTE_HOST and MATTE_PORT come in. HTTP_PROXY and its like are for the way out of the
container and play no part.
"""

import http.client
import os
import sys

EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}

host = os.environ.get("MATTE_HOST", "")
port = int(os.environ.get("MATTE_PORT") or "8000")
connection = http.client.HTTPConnection(EVERYWHERE.get(host, host), port, timeout=4)
try:
    connection.request("GET", "/readyz")
    response = connection.getresponse()
    body = response.read(1000).decode(errors="replace")
except (OSError, http.client.HTTPException) as error:
    sys.exit(f"no answer from {connection.host} port {port}: {error}")
finally:
    connection.close()
if response.status != 200:
    sys.exit(f"{response.status} {body}")
print(body)
