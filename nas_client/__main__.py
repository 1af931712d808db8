"""`python -m nas_client` is `nas-client`."""

from nas_client.cli.main import main

main()
