def policy(): return {}
def binding(): return {}
