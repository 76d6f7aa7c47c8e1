mod connections;
mod guest;
mod hostile;
mod services;
