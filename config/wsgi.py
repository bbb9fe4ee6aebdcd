"""The WSGI application that the web server serves. With a wrong setting there is none."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

from config.answers import WholeAnswers

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")


try:
    application = WholeAnswers(get_wsgi_application())
except ImproperlyConfigured as error:
    sys.exit(f"tollgate: {error}")

from django.db import connection

from budgets.environment import environment_problem
from config.checks import WrongSettings, require_settings
from opslog.database import routines

try:
    require_settings()
except WrongSettings as error:
    sys.exit(f"tollgate: {error}")

# A database that is away now is looked at when it is back: on every new connection.
problem = environment_problem()
connection.close()
if problem:
    sys.exit(f"tollgate: {problem}")

# It starts all the same, and is not ready (`/readyz`): the routines may be installed any moment.
if problem := routines.start_problem():
    print(f"tollgate: not ready: {problem}", file=sys.stderr, flush=True)
