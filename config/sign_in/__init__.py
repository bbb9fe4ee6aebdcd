"""How people sign in: django-allauth, put together for this product.

One way in, whatever it leads to: `/account/login/`. Nobody registers here, addresses are not
verified, and pages of allauth that are not needed have no address (`urls`). What must hold on
every request of somebody who is signed in is in `middleware`; who needs a second factor in
`factors`; what single sign-on says of a person in `single`.
"""
