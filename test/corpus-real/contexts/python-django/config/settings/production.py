import os

SECRET_KEY = os.environ["SECRET_KEY"]
INSTALLED_APPS = ["django.contrib.staticfiles"]
STATIC_URL = "/static/"
STATIC_ROOT = "/home/python/app/collected"
STATICFILES_DIRS = ["/home/python/app/static_files"]
ROOT_URLCONF = "config.urls"
ALLOWED_HOSTS = ["*"]
