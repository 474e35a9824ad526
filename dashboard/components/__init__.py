"""Own components (`st.components.v2`): inline JavaScript and CSS beside each wrapper, no build step, no frame.

What people and models said goes into the page through `textContent` only.
"""
