mod answers;
mod connections;
