"""The WSGI application that the web server serves. With a wrong setting there is none."""

import os
import sys

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_wsgi_application()

from config.checks import WrongSettings, require_settings  # noqa: E402  (needs the apps)

try:
    require_settings()
except WrongSettings as error:
    sys.exit(f"tollgate: {error}")
