"""The backend. Its import settles the environment, before a library's import reads it."""

from app.environment import settle

settle()
