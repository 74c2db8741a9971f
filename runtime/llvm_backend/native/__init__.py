"""Native programs: a whole program as one step table over one arena."""
